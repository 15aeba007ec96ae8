"""Two AutoGen agents and a manager who picks the speaker, all inside one quota.

    OPENAI_API_KEY=... python examples/autogen_chat.py

The manager's own calls count too; without the line `keeper.wrap` nobody would see them.
"""

from autogen import AssistantAgent, GroupChat, GroupChatManager, UserProxyAgent

import ratekeeper as rk


class Bill(rk.Hook):
    def settled(self, event: rk.Settled) -> None:
        print(f"{event.caller}: {event.usage.output_tokens if event.usage else '?'} tokens")


keeper = rk.Keeper(rk.Quota(rpm=500, tpm=200_000, concurrency=4), hooks=Bill())
llm_config = keeper.wrap({"config_list": [{"model": "gpt-4o-mini"}], "cache_seed": None})

writer = AssistantAgent("writer", "You write two sentences about what you are asked.", llm_config=llm_config)
critic = AssistantAgent("critic", "You name one fault of what was written.", llm_config=llm_config)
chat = GroupChat([writer, critic], messages=[], max_round=3, allow_repeat_speaker=False)
manager = GroupChatManager(chat, llm_config=llm_config)
user = UserProxyAgent("user", human_input_mode="NEVER", code_execution_config=False)

user.initiate_chat(manager, message="Why are there two tides a day?", silent=True)
print(
    f"{len(chat.messages)} messages; unwrapped: {[row for row in keeper.audit(manager) if not row.wrapped]}"
)
