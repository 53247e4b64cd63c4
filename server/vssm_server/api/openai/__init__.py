"""Routes under /v1 in the shapes of OpenAI's API. They plan, queue and answer by the same code as POST /generate."""
