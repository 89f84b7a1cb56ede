"""Sound: recordings read and resampled (`recordings`; in pieces `blocks`; with what is said in them
`transcripts`, in a form that `texts` makes), what a network hears of them (`features`), their
changes in training (`augmentation`), their pictures (`spectrogram`), and the options on all of
these (`options`).
"""
