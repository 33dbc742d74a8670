"""magsd: classify COVID-19 and other pneumonia on chest X-rays with MAG-SD, and prove how good it is."""

__version__ = "0.1.0"
