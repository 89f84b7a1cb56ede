"""Sound: recordings read and resampled (`recordings`), spectra and what is made of them
(`features`), changes for training (`augmentation`), and the options on all of these (`options`).
"""
