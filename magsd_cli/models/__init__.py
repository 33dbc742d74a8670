"""Networks: MA-Net and what it is compared with, built by recipe name, with their starting weights."""
