"""Train the teacher, a ResNet-50, on the labels.

python -m train.teacher --recipe original --output-dir runs/teacher
torchrun --nproc-per-node 2 -m train.teacher --recipe original --output-dir runs/teacher
"""

from train.run import main

if __name__ == "__main__":
    main("teacher")
