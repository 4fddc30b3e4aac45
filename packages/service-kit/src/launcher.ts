/**
 * Aborts when whoever launched us has gone: a launcher that was killed cannot tell us to stop, and a terminal that was
 * closed takes it away. `SLUICE_LAUNCHER_PID` names it; without, nothing is watched.
 */
export function watchLauncher(env: NodeJS.ProcessEnv, stop: (why: string) => void): Disposable {
  const pid = Number(env["SLUICE_LAUNCHER_PID"] ?? 0);
  if (!Number.isInteger(pid) || pid <= 1) return { [Symbol.dispose]: () => {} };
  const timer = setInterval(() => {
    try {
      process.kill(pid, 0);
    } catch (error) {
      // EPERM: it is there, under another user.
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") return;
      clearInterval(timer);
      stop(`its launcher (pid ${pid}) is gone`);
    }
  }, 500);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
