"""Generated from proto by `make proto`; only this file and the empty ones beside it are written by hand."""
