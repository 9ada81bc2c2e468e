"""The page without a server: the visitor's own browser computes.

`build.py` writes it, around the stage and the game of `kd.demo`; the scripts are modules that any file server serves as
they are:

    site.js             gives the stage what it asks for; ways in for photos, and how far the networks are
    mathematics.js      the stage's own, taken from kd/demo/stage
    component.js        gives a component what Gradio gives it elsewhere
    tabs.js             the page's tabs
    photo.js            an image file to pixels, or a sentence that says why it is none
    shrink.js           a photo's square as 32 x 32 pixels, as Pillow shrinks it on the server
    warning.js          whether a photo may show none of the classes
    asking.js           networks that are asked together, students before their teacher
    own.js              the game of the omitted class, with pictures of one's own
    networks.js         a worker that runs exported networks by ONNX Runtime Web, which `runtime.py` fetches
    service-worker.js   keeps all of it in the browser, for visits without a connection
"""
