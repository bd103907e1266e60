"""Why a candidate was found: the parts of the query's spectra that speak for it, as numbers and as a drawing."""
