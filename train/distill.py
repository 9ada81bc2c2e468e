"""Train the distilled student, a MobileNetV2, on the labels and the soft targets of a teacher.

python -m train.distill --recipe original --teacher checkpoints/teacher --output-dir runs/distilled
torchrun --nproc-per-node 2 -m train.distill --recipe original --teacher checkpoints/teacher --output-dir runs/distilled
"""

from train.run import main

if __name__ == "__main__":
    main("distilled")
