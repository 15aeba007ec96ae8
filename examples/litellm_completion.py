"""LiteLLM's functions and its Router inside quotas: one for each model, whoever calls it.

OPENAI_API_KEY=... ANTHROPIC_API_KEY=... python examples/litellm_completion.py
"""

import asyncio

import litellm

import ratekeeper as rk

keeper = rk.Keeper(
    rk.Quota(rpm=500, tpm=200_000, concurrency=4),
    quotas={"anthropic/claude-haiku-*": rk.Quota(rpm=50, concurrency=2)},
)
llm = keeper.litellm()  # completion, acompletion, embedding, … as of the module
router = keeper.wrap(
    litellm.Router(
        model_list=[
            {"model_name": "quick", "litellm_params": {"model": "openai/gpt-4o-mini"}},
            {"model_name": "other", "litellm_params": {"model": "anthropic/claude-haiku-4-5"}},
        ],
        fallbacks=[{"quick": ["other"]}],  # another quota: its turn comes when the first has been given up
    )
)


async def main() -> None:
    messages = [{"role": "user", "content": "One sentence about lighthouses."}]
    asked = [llm.acompletion(model="openai/gpt-4o-mini", messages=messages) for _ in range(6)]
    asked += [router.acompletion(model=name, messages=messages) for name in ("quick", "other") * 3]
    answers = await asyncio.gather(*asked)
    print(f"{len(answers)} answers; the first one: {answers[0].choices[0].message.content}")
    for scope in keeper.status()["scopes"]:
        print(scope)


asyncio.run(main())
