"""What distq and the bare recipe do on the same machine, side by side in one run: `make bench`."""
