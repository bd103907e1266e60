"""One look for every page and file: style sheet, template macros, drawings of spectra and structures, words."""
