"""molchord: find out what molecule a sample is, from its structure and any number of its spectra."""
