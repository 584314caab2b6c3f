"""The commands of the command line, a file each; what they have in common is in `options`."""
