"""A PACS over DICOMweb: what is new in it, screened, and the answers back."""
