// The server of the tests: a real one, with the models of tests/server/models.py. pytest starts it and runs vitest.

/** Where it is. */
export const url = process.env.VSSM_TEST_URL ?? "";

/** Called by vitest before all tests. */
export default function setup(): void {
  if (url === "") throw new Error("VSSM_TEST_URL says where a test server is: run `make ts`, which starts one.");
}
