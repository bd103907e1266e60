"""The simulator `aimnet2`: read `simulator`, then `spectra`, `surface`, `hessian`, `network` and `weights`."""
