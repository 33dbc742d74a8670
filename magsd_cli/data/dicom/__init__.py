"""DICOM radiographs: what a header tells, what is refused by it, and the picture that a viewer would show."""
