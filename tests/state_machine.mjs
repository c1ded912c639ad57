// Runs the state machine with aws-local-stepfunctions, another interpreter of the Amazon States Language than the emulator's.
//
//   node state_machine.mjs DEFINITION NODE_MODULES < scenarios.json > what-happened.json
//
// A scenario is the input of an execution and what its functions answer, by the names of the states that call them: each time
// the next answer, and the last one again. An answer {"Error": …, "Cause": …} is a failure. The items of the distributed map,
// which it reads from Amazon S3, are given. What happened is for each scenario the states in the order in which they were entered,
// those of each item of the map apart, what each function was called with, and how the execution ended.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const { StateMachine } = createRequire(`${process.argv[3]}/`)('aws-local-stepfunctions');

// Node.js 22 has it.
Promise.withResolvers ??= () => {
  const resolvers = {};
  resolvers.promise = new Promise((resolve, reject) => Object.assign(resolvers, { resolve, reject }));
  return resolvers;
};

const text = readFileSync(process.argv[2], 'utf8').replaceAll('${Partition}', 'aws');
// ARNs of functions that are never called.
const definition = JSON.parse(text.replaceAll(/\$\{(\w+)Arn\}/g, 'arn:aws:lambda:eu-west-1:123456789012:function:$1'));
// Anything that has the shape that AWS reads: the reader's list is the array of its items here.
const map = definition.States.Batches;
delete map.ItemReader;
delete map.ResultWriter;
map.ItemsPath = '$.items';

class Failure extends Error {
  constructor({ Error: name, Cause: cause }) {
    super(cause);
    this.name = name;
  }
}

async function run({ input, answers, items }) {
  const [calls, path, maps] = [[], [], []];
  const handler = (state) => (called) => {
    const given = answers[state] ?? [];
    const number = calls.filter((call) => call.state === state).length;
    calls.push({ state, input: structuredClone(called) });
    const answer = structuredClone(given[Math.min(number, given.length - 1)] ?? called.Payload);
    if (answer?.Error) throw new Failure(answer);
    if (state === 'Inventory') answer.items = items ?? [];
    return { StatusCode: 200, Payload: answer };
  };
  const states = ['Inventory', 'Suspend', 'Preview', 'Enforce', 'Report'];
  const execution = new StateMachine(definition).run(input, {
    overrides: {
      taskResourceLocalHandlers: Object.fromEntries(states.map((state) => [state, handler(state)])),
      retryIntervalOverrides: Object.fromEntries(states.map((state) => [state, 0])),
    },
    context: {
      Execution: {
        Id: 'arn:aws:states:eu-west-1:123456789012:execution:steward-lifecycle:run',
        Name: 'run',
        StartTime: '2026-11-26T03:00:00Z',
        Input: input,
      },
    },
  });
  const ended = execution.result.then(
    (output) => ({ output }),
    ({ name, message, cause }) => ({ failed: { name, message, cause: cause?.name } }),
  );
  for await (const event of execution.eventLogs) {
    if (event.type !== 'StateEntered') continue;
    if (event.index === undefined) path.push(event.state.name);
    else (maps[event.index] ??= []).push(event.state.name);
  }
  return { path, maps, calls, ...(await ended) };
}

const scenarios = JSON.parse(readFileSync(0, 'utf8'));
const happened = [];
for (const scenario of scenarios) happened.push(await run(scenario));
process.stdout.write(JSON.stringify(happened), () => process.exit(0));
