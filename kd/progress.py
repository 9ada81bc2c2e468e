"""What a run says of itself while it trains."""

import time
from datetime import timedelta

from tqdm import tqdm

from kd.recipe import Recipe

# What an epoch at full size costs, in epochs with the early stride: their multiplications are as 4 to 1.
FULL_SIZE_COST = 4


def cost_left(recipe: Recipe, epochs_done: float) -> float:
    """What is left of a run, in epochs of the kind that `epochs_done` stands in.

    Args:
        epochs_done: passes over the data so far, a fraction within an epoch.
    """
    early, now = recipe.early_epochs, int(epochs_done)
    left = recipe.epochs - epochs_done
    if now >= early:
        return left
    return (early - epochs_done) + FULL_SIZE_COST * (recipe.epochs - early)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as people read them: 3:07:00."""
    return str(timedelta(seconds=round(seconds)))


class Progress:
    """A bar with loss, accuracy, images/s and the time left in the whole run, and a line when an epoch is done."""

    def __init__(self, recipe: Recipe, history: list[dict], images: int, hidden: bool) -> None:
        """Begin the epoch after those of `history`, of `images` images in all."""
        self.recipe, self.epoch, self.hidden = recipe, len(history), hidden
        self.title = f"epoch {self.epoch + 1}/{recipe.epochs}"
        self.before = f"{history[-1]['validation_accuracy']:.1%}" if history and not hidden else "none yet"
        self.bar = tqdm(
            total=images // recipe.batch_size * recipe.batch_size,
            desc=self.title,
            unit="img",
            leave=False,
            disable=True if hidden else None,  # None: only on a terminal
        )
        self.started = self.last = time.perf_counter()

    def due(self) -> bool:
        """Whether to look at the loss now: about twice a second, since a look makes a GPU wait."""
        now = time.perf_counter()
        if now - self.last < 0.5:
            return False
        self.last = now
        return True

    def show(self, images: int, loss: float, accuracy: float) -> None:
        """Move the bar to `images`, with the loss and the accuracy (0 to 1) of the epoch so far."""
        done = images / self.bar.total if self.bar.total else 1
        seconds = (time.perf_counter() - self.started) / done * cost_left(self.recipe, self.epoch + min(done, 0.999))
        self.bar.set_postfix_str(
            f"loss {loss:.3f}, accuracy {accuracy:.1%}, validation {self.before}, run done in {duration(seconds)}",
            refresh=False,
        )
        self.bar.update(images - self.bar.n)

    def close(self, measured: dict) -> None:
        """Take the bar away and print the epoch's measurements as one line."""
        self.bar.close()
        if self.hidden:
            return
        done = self.epoch + 1
        rate = measured["seconds"]
        if done == self.recipe.early_epochs:  # what comes costs more than what was measured
            rate *= FULL_SIZE_COST
        left = duration(rate * cost_left(self.recipe, done)) if done < self.recipe.epochs else "nothing"
        tqdm.write(
            f"{self.title}: loss {measured['loss']:.4f}, accuracy {measured['accuracy']:.2%}, "
            f"validation accuracy {measured['validation_accuracy']:.2%}, "
            f"{measured['images_per_second']:,.0f} images/s, {measured['seconds']:.0f} s, {left} to go"
        )
