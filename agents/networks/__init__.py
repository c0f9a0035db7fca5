"""Networks by name: a kind of network is one subclass of `Agent` in one file and one row here."""

from collections.abc import Collection, Iterator

from plastic_envs.utils.registry import Registry, Row

NETWORKS = Registry(
    "network",
    {
        "self-modulated": Row(
            "agents.networks.self_modulated:SelfModulatedNetwork", "RNN or LSTM that sets its own learning rate (Duan)"
        ),
        "plastic-rnn": Row(
            "agents.networks.plastic_rnn:PlasticRNN",
            "recurrent network with one plastic matrix, modulated if asked (Miconi)",
        ),
        "plastic-mlp": Row(
            "agents.networks.plastic_mlp:PlasticMLP",
            "feedforward network with plastic layers, modulated if asked (three factors)",
        ),
        "plastic-head": Row(
            "agents.networks.plastic_head:PlasticHead",
            "one plastic layer that is told the label, for one-shot images (Miconi)",
        ),
        "hebbian-mlp": Row(
            "agents.networks.hebbian_mlp:HebbianMLP",
            "feedforward or recurrent, with weights random at birth (Najarro)",
        ),
        "feedback": Row(
            "agents.networks.feedback.network:FeedbackNetwork",
            "classifier with random or symmetric feedback (Rosenbaum)",
        ),
        "kwta": Row(
            "agents.networks.kwta.network:KWTANetwork",
            "k winners take all on a random graph, learning by firing codes (Cristian 2020)",
        ),
    },
    renamed={"cap": "kwta", "random-network": "hebbian-mlp"},
)


def networks_with(signals: Collection[str]) -> Iterator[str]:
    """Those that have all signals of a rule, its default first."""
    return (name for name in NETWORKS if NETWORKS.load(name).offers.issuperset(signals))
