"""The worlds that several agents share, by name: one file and one row each."""

from plastic_envs.registry import Registry, Row

WORLDS = Registry(
    "world",
    {
        "Foraging": Row(
            "plastic_envs.worlds.foraging:Foraging", "find out which food feeds, among others who eat it too"
        ),
    },
)
