"""A window on the screen that shows an environment's pictures."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastic_envs.utils.errors import MissingExtraError, UsageError

try:
    import pygame
except ImportError:
    raise MissingExtraError("a window (render_mode='human')", "human") from None


class Window:
    """Opens with the first picture, and shows so many a second.

    Args:
        title: what stands above the pictures.
        fps: pictures a second; `show` waits until it is time for the next.
    """

    def __init__(self, title: str, fps: int) -> None:
        self._title, self._fps = title, fps
        self._screen: Any = None
        self._clock = pygame.time.Clock()

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a picture (H, W, 3).

        Raises:
            UsageError: there is no screen.
        """
        if self._screen is None:
            try:
                pygame.display.init()
                self._screen = pygame.display.set_mode((frame.shape[1], frame.shape[0]))
            except pygame.error as error:
                raise UsageError(f"render_mode 'human' needs a screen ({error}): 'rgb_array' does not") from None
            pygame.display.set_caption(self._title)
        pygame.surfarray.blit_array(self._screen, frame.transpose(1, 0, 2))
        pygame.event.pump()  # a window that answers no events counts as hung
        pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self) -> None:
        """Close the window, if it has been opened."""
        if self._screen is not None:
            pygame.display.quit()
            self._screen = None
