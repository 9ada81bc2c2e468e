"""What a run says of itself while it trains."""

import time

from tqdm import tqdm

from kd.recipe import Recipe


class Progress:
    """A bar with loss, accuracy, images/s and the time left in the epoch, and a line when it is done."""

    def __init__(self, recipe: Recipe, epoch: int, images: int, hidden: bool) -> None:
        self.title = f"epoch {epoch + 1}/{recipe.epochs}"
        self.hidden = hidden
        steps = images // recipe.batch_size
        self.bar = tqdm(
            total=steps * recipe.batch_size,
            desc=self.title,
            unit="img",
            leave=False,
            disable=True if hidden else None,  # None: only on a terminal
        )
        self.last = time.perf_counter()

    def due(self) -> bool:
        """Whether to look at the loss now: about twice a second, since a look makes a GPU wait."""
        now = time.perf_counter()
        if now - self.last < 0.5:
            return False
        self.last = now
        return True

    def show(self, images: int, loss: float, accuracy: float) -> None:
        """Move the bar to `images`, with the loss and the accuracy (0 to 1) of the epoch so far."""
        self.bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.1%}", refresh=False)
        self.bar.update(images - self.bar.n)

    def close(self, measured: dict) -> None:
        """Take the bar away and print the epoch's measurements as one line."""
        self.bar.close()
        if not self.hidden:
            tqdm.write(
                f"{self.title}: loss {measured['loss']:.4f}, accuracy {measured['accuracy']:.2%}, "
                f"validation accuracy {measured['validation_accuracy']:.2%}, "
                f"{measured['images_per_second']:,.0f} images/s, {measured['seconds']:.0f} s"
            )
