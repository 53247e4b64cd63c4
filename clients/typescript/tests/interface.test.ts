// What is public is documented, typed without `any`, and needs nothing of Node.

import { readdirSync, readFileSync } from "node:fs";
import ts from "typescript";
import { expect, test } from "vitest";

const program = ts.createProgram(["src/index.ts"], {
  target: ts.ScriptTarget.ES2022,
  lib: ["lib.es2022.d.ts", "lib.esnext.disposable.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
  module: ts.ModuleKind.NodeNext,
  strict: true,
  types: [],
});
const checker = program.getTypeChecker();
const source = program.getSourceFile("src/index.ts");
const module = source && checker.getSymbolAtLocation(source);

function* members(name: string, symbol: ts.Symbol): Generator<[string, ts.Symbol]> {
  const type = symbol.flags & ts.SymbolFlags.Type ? checker.getDeclaredTypeOfSymbol(symbol) : null;
  if (type === null || type.isUnion()) return;
  for (const property of type.getProperties()) {
    const files = property.declarations?.map((declaration) => declaration.getSourceFile().fileName) ?? [];
    const ours = files.some((file) => file.includes("/src/")) && !property.name.startsWith("#");
    if (ours) yield [`${name}.${property.name}`, property];
  }
}

function* everything(): Generator<[string, ts.Symbol]> {
  for (const exported of module ? checker.getExportsOfModule(module) : []) {
    const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
    yield [exported.name, symbol];
    yield* members(exported.name, symbol);
  }
}

/** What stands above it; of what is generated only the description, for what is above that is its name again. */
function documentation(symbol: ts.Symbol, declaration: ts.Declaration): string {
  const generated = declaration.getSourceFile().fileName.endsWith("/openapi.ts");
  const tag = symbol.getJsDocTags(checker).find(({ name }) => name === "description");
  return ts.displayPartsToString(generated ? tag?.text : symbol.getDocumentationComment(checker));
}

/** Of the parameters and the result. */
function types(signature: ts.Signature): ts.Type[] {
  const parameters = signature.getParameters().map((parameter) => checker.getTypeOfSymbol(parameter));
  return [...parameters, signature.getReturnType()];
}

test("everything public is documented and typed without any", () => {
  const names: string[] = [];
  for (const [name, symbol] of everything()) {
    names.push(name);
    const declaration = symbol.declarations?.[0];
    if (declaration === undefined) throw new Error(name);
    expect(documentation(symbol, declaration), name).not.toBe("");
    const type =
      symbol.flags & ts.SymbolFlags.Type
        ? checker.getDeclaredTypeOfSymbol(symbol)
        : checker.getTypeOfSymbolAtLocation(symbol, declaration);
    const parts = [type, ...type.getCallSignatures().flatMap(types)];
    const said = parts.map((each) => checker.typeToString(each, undefined, ts.TypeFormatFlags.NoTruncation));
    expect(said.join(" "), name).not.toMatch(/\bany\b/);
  }
  expect(names).toEqual(
    expect.arrayContaining(["Client.stream", "Session.id", "join", "Generation.seed", "Model.error"]),
  );
  expect(names.length).toBeGreaterThan(100);
});

test("nothing is needed at run time", () => {
  const manifest = JSON.parse(readFileSync("package.json", "utf8"));
  expect(Object.keys(manifest).filter((name) => /dependencies/i.test(name))).toEqual(["devDependencies"]);
  const imports = readdirSync("src").flatMap((file) =>
    [...readFileSync(`src/${file}`, "utf8").matchAll(/(?:from|import)[ (]"([^"]+)"/g)].map((found) => found[1]),
  );
  expect(imports.length).toBeGreaterThan(20);
  expect(imports.filter((name) => !/^\.\/\w+\.js$/.test(name ?? ""))).toEqual([]);
});
