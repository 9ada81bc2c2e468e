"""Dark Knowledge: response-based knowledge distillation on CIFAR-10, made visible and measured.

Importing this package loads neither Gradio nor any data; see the modules for the ideas, one each.
"""
