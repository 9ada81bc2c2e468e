"""The page without a server: what the visitor's own browser needs to read a photo and to run the networks.

It does without Gradio. The scripts are modules that any file server serves as they are:

    shrink.js     a photo's square as 32 x 32 pixels, as Pillow shrinks it on the server
    photo.js      an image file to pixels, or a sentence that says why it is none
    networks.js   a worker that runs exported networks by ONNX Runtime Web, which `runtime.py` fetches
"""
