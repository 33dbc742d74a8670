"""The method of MAG-SD on batches: preprocessing, augmentation, soft distance, the training step."""
