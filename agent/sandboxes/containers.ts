/**
 * Which container each sandbox owns: from its claim, or an earlier agent's record, until the container is destroyed.
 */
import type { Launched, Launcher } from '../pool/launcher.ts';
import type { Sandbox } from './sandbox.ts';

export class Containers {
  readonly #launcher: Launcher;
  readonly #owners = new Map<string, Sandbox>();

  constructor(launcher: Launcher) {
    this.#launcher = launcher;
  }

  ownerOf(containerId: string): Sandbox | undefined {
    return this.#owners.get(containerId);
  }

  /**
   * Gives the sandbox its container. False if the sandbox has ended meanwhile; the container is then destroyed.
   * @throws Error from the file system if the claim cannot be recorded. The container is then destroyed too.
   */
  place(sandbox: Sandbox, launched: Launched): boolean {
    if (sandbox.ended || sandbox.provisioning.signal.aborted) {
      this.#discard(launched);
      return false;
    }
    try {
      this.#launcher.claimed(launched);
    } catch (error) {
      this.#discard(launched);
      throw error;
    }
    this.adopt(sandbox, launched);
    return true;
  }

  /** The container already belonged to the sandbox under an earlier agent. */
  adopt(sandbox: Sandbox, launched: Launched): void {
    sandbox.launched = launched;
    sandbox.containerId = launched.container.id;
    this.#owners.set(launched.container.id, sandbox);
  }

  /** Takes a broken container away again, before any user code has run in it. */
  unplace(sandbox: Sandbox): void {
    const { launched, containerId } = sandbox;
    if (containerId !== null) this.#owners.delete(containerId);
    sandbox.launched = null;
    sandbox.containerId = null;
    if (launched !== null) this.#discard(launched);
  }

  /**
   * Destroys the container of an ended sandbox. Resolves once it is gone; until then it still belongs to the sandbox.
   */
  async destroy(sandbox: Sandbox): Promise<void> {
    const { launched, containerId } = sandbox;
    sandbox.launched = null;
    if (containerId === null) return;
    await this.#launcher.discard(containerId, launched?.link);
    this.#owners.delete(containerId);
  }

  #discard({ container, link }: Launched): void {
    void this.#launcher.discard(container.id, link);
  }
}
