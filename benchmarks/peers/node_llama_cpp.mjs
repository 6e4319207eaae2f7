// Speed of llama.cpp, as the npm package node-llama-cpp ships it, on one GGUF file.
//
//   node node_llama_cpp.mjs FILE THREADS PROMPT GENERATED REPETITIONS   -> one line of JSON
//
// Finds the package in the folder that it is run in; compare.py sets that up.

import {createRequire} from "node:module";
import path from "node:path";
import {pathToFileURL} from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const {getLlama} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const [file, threads, prompt, generated, repetitions] = process.argv.slice(2).map((word, i) => i == 0 ? word : Number(word));

const llama = await getLlama({gpu: false, build: "never", maxThreads: threads, logLevel: "error"});
const model = await llama.loadModel({modelPath: file});
const context = await model.createContext({contextSize: prompt + generated + 16, batchSize: 512, threads});
const sequence = context.getSequence();
const tokens = Array.from({length: prompt}, (_, i) => 300 + (i * 7919) % 50000);

const seconds = async (work) => {
    const start = performance.now();
    await work();
    return (performance.now() - start) / 1000;
};

async function generate(count) {
    let left = count;
    for await (const _ of sequence.evaluate([tokens[0]], {temperature: 0, yieldEogToken: true}))
        if (--left === 0)
            break;
}

// Generating comes second, after a few tokens only: the first token is not counted, it carries the start of the loop.
const samples = {prompt: [], generated: []};
await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(0, 32));
for (let i = 0; i < repetitions; ++i) {
    await sequence.clearHistory();
    samples.prompt.push(prompt / await seconds(() => sequence.evaluateWithoutGeneratingNewTokens(tokens)));
    await sequence.clearHistory();
    const one = await seconds(() => generate(1));
    await sequence.clearHistory();
    samples.generated.push(generated / Math.max(await seconds(() => generate(generated + 1)) - one, 1e-9));
}
console.log(JSON.stringify(samples));
process.exit(0);
