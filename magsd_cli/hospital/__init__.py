"""Results as DICOM objects, which lie in the study that they are about, and the PACS that has it."""
