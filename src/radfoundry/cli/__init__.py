"""The command line: parse words, call one function, print what it gave."""
