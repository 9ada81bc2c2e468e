"""Train the student alone, a MobileNetV2, on the labels.

python -m train.student --recipe original --output-dir runs/student
torchrun --nproc-per-node 2 -m train.student --recipe original --output-dir runs/student
"""

from train.run import main

if __name__ == "__main__":
    main("student")
