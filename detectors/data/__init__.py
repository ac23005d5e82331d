"""What detectors read: the samples of a store and their face crops, masks and landmarks, cut on reading; and what they
compute alike, such as JPEG.

Every random choice comes from a generator seeded by (seed, epoch, index), so neither the number of loader
workers nor a resumed training changes what is read.

May import: of preprocess `face`, `store`, `running`.
"""
