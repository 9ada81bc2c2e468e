"""Train the teacher, a ResNet-50, on the labels.

python -m train.teacher --recipe seed
torchrun --nproc-per-node 2 -m train.teacher --recipe seed
"""

from train.run import main

if __name__ == "__main__":
    main("teacher")
