"""Words that shrink the configs of agents."""

from whole_path import SHORT

TINY_AGENT = "--model.hidden 8 --data.environments 4 --data.eval-episodes 6 --data.environment.max-steps 20"
ON_POLICY = {
    "ppo_cartpole": f"{TINY_AGENT} --loss.horizon 16",
    "a2c_cartpole": TINY_AGENT,
    "ppo_acrobot": f"{TINY_AGENT} --loss.horizon 16",
    "ppo_catch": "--model.hidden 8 --data.environments 4 --data.eval-episodes 6 --loss.horizon 16",
    "ppo_pendulum": f"{TINY_AGENT} --loss.horizon 16",
    "ppo_breakout": f"{TINY_AGENT} --loss.horizon 8 --model.channels 2",
}


def agent_words(name, tmp_path):
    """The words that shrink a config."""
    del tmp_path
    return [*ON_POLICY[name].split(), *SHORT]
