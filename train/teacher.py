"""Train the teacher, a ResNet-50, on the labels.

python -m train.teacher --recipe original
torchrun --nproc-per-node 2 -m train.teacher --recipe original
"""

from train.run import main

if __name__ == "__main__":
    main("teacher")
