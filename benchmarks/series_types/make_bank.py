"""Pixel features of simulated series, to train the classifier of types with: make_bank.py OUT SEED BODIES."""

from __future__ import annotations

import sys

import torch

from radfoundry.train.series_bank import make_bank, save_bank

if __name__ == "__main__":
    torch.set_num_threads(1)
    bank = make_bank(int(sys.argv[3]), seed=int(sys.argv[2]))
    save_bank(bank, sys.argv[1])
    print(len(bank), "images")
