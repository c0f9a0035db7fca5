"""The worlds that several agents share, by name: one file and one row each."""

from plastic_envs.utils.registry import Registry, Row

WORLDS = Registry(
    "world",
    {
        "Foraging": Row(
            "plastic_envs.worlds.foraging:Foraging", "find out which food feeds, among others who eat it too"
        ),
        "RepeatedGame": Row(
            "plastic_envs.worlds.repeated_game:RepeatedGame", "find a convention with one's neighbours, or cooperate"
        ),
    },
)
