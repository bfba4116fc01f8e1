// dockerode against DOCKER_HOST; fails by an exception. The directory with node_modules is the first argument.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { PassThrough } from "node:stream";

const Docker = createRequire(`${process.argv[2]}/x.js`)("dockerode");
const docker = new Docker();
const QUIET = { HostConfig: { NetworkMode: "none" } };

const collect = (stream) =>
  new Promise((resolve, reject) => {
    let text = "";
    stream.on("data", (chunk) => (text += chunk));
    stream.on("end", () => resolve(text));
    stream.on("error", reject);
  });

// Both outputs of a stream with headers.
const split = async (stream) => {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  stream.on("end", () => (out.end(), err.end()));
  return Promise.all([collect(out), collect(err)]);
};

assert.equal((await docker.ping()).toString(), "OK");
const events = await docker.getEvents({ filters: { type: ["container"] } });
const seen = [];
events.on("data", (chunk) => seen.push(...chunk.toString().trim().split("\n").map((line) => JSON.parse(line).Action)));

const [{ StatusCode }, once] = await docker.run("busybox", ["sh", "-c", "exit 3"], new PassThrough(), QUIET);
assert.equal(StatusCode, 3);
await once.remove();

const box = await docker.createContainer({ ...QUIET, Image: "busybox", name: "ode", Cmd: ["sh", "-c", "echo started; exec sleep 60"] });
await box.start();
assert.equal((await box.inspect()).State.Status, "running");
assert.deepEqual((await docker.listContainers()).map((one) => one.Names), [["/ode"]]);

let exec = await box.exec({ Cmd: ["sh", "-c", "cat; echo err >&2; exit 4"], AttachStdin: true, AttachStdout: true, AttachStderr: true });
let stream = await exec.start({ hijack: true, stdin: true });
const outputs = split(stream);
stream.end("typed\n");
assert.deepEqual(await outputs, ["typed\n", "err\n"]);
assert.equal((await exec.inspect()).ExitCode, 4);

exec = await box.exec({ Cmd: ["sh", "-c", "read x; stty size"], AttachStdin: true, AttachStdout: true, Tty: true });
stream = await exec.start({ hijack: true, stdin: true, Tty: true });
await exec.resize({ h: 11, w: 22 });
stream.write("\n");
assert.match(await collect(stream), /11 22/);

const logs = split(await box.logs({ follow: true, stdout: true, stderr: true }));
const stats = await box.stats({ stream: false });
assert.equal(stats.pids_stats.current, 1);
await box.stop({ t: 0 });
assert.deepEqual(await logs, ["started\n", ""]);
await box.remove();

const network = await docker.createNetwork({ Name: "ode" });
const volume = await docker.createVolume({ Name: "ode" });
const one = await docker.createContainer({ Image: "busybox", name: "first", Cmd: ["sleep", "60"], HostConfig: { NetworkMode: "ode", Binds: ["ode:/data"] } });
await one.start();
const output = new PassThrough();
const said = collect(output);
const [ping] = await docker.run("busybox", ["ping", "-c1", "first"], output, { HostConfig: { NetworkMode: "ode", AutoRemove: true } });
assert.equal(ping.StatusCode, 0);
assert.match(await said, /1 packets received/);
await one.remove({ force: true });
await network.remove();
await volume.remove();

const build = await docker.buildImage({ context: process.argv[3], src: ["Dockerfile"] }, { t: "ode:1" });
const lines = await new Promise((resolve, reject) => docker.modem.followProgress(build, (error, all) => (error ? reject(error) : resolve(all))));
assert.equal(lines.at(-1).stream, "Successfully tagged ode:1\n");
await docker.getImage("ode:1").tag({ repo: "other", tag: "2" });
await docker.getImage("ode:1").remove();
const saved = await docker.getImage("other:2").get();
await docker.getImage("other:2").remove();
const loaded = await docker.loadImage(saved);
assert.match(await collect(loaded), /Loaded image: other:2/);
await docker.getImage("other:2").remove();
await assert.rejects(docker.getImage("other:2").inspect(), (error) => error.statusCode === 404);

events.destroy();
for (const action of ["create", "start", "die", "destroy", "exec_create: sh -c read x; stty size"]) assert(seen.includes(action), action);
