// The likeliest token after each of several lists of tokens, as llama.cpp finds it (npm package node-llama-cpp).
//
//   node greedy.mjs FILE LISTS.json   -> one line of JSON
//
// Finds the package in the folder that it is run in; agree.py sets that up.

import {readFileSync} from "node:fs";
import {createRequire} from "node:module";
import path from "node:path";
import {pathToFileURL} from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const {getLlama} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const [file, lists] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: "never", maxThreads: 2, logLevel: "error"});
const model = await llama.loadModel({modelPath: file});
const context = await model.createContext({contextSize: 128, batchSize: 64, threads: 2});
const sequence = context.getSequence();
const found = [];
for (const tokens of JSON.parse(readFileSync(lists, "utf8"))) {
    await sequence.clearHistory();
    for await (const token of sequence.evaluate(tokens, {temperature: 0, yieldEogToken: true})) {
        found.push(token);
        break;
    }
}
console.log(JSON.stringify(found));
process.exit(0);
