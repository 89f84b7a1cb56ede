"""Sound: recordings read and resampled (`recordings`; in pieces `blocks`), what a network hears of
them (`features`), their changes in training (`augmentation`), their pictures (`spectrogram`), and
the options on all of these (`options`).
"""
