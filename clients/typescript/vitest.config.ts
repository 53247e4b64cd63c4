import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    globalSetup: "tests/server.ts",
    testTimeout: 120_000, // a busy machine is slow, not wrong
    fileParallelism: false,
    isolate: false,
  },
});
