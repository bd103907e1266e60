"""From a long list of SMILES to a library: the stages, and the engines that run them on one machine or on many."""
