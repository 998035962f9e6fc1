/** The current rules of each tenant. */
import { NO_BOUNDS, NO_TENANTS, type TenantRules, type TenantsFile } from './file.ts';

export class Tenants {
  #file: TenantsFile;
  #defaults: TenantRules = NO_BOUNDS;
  #rules = new Map<string, TenantRules>();

  constructor(file: TenantsFile = NO_TENANTS) {
    this.#file = file;
    this.replace(file);
  }

  /** Replaces the file. New rules apply from the next call on; existing sandboxes are not affected. */
  replace(file: TenantsFile): void {
    this.#file = file;
    this.#defaults = { ...NO_BOUNDS, ...file.defaults };
    this.#rules = new Map([...file.tenants].map(([name, rules]) => [name, { ...this.#defaults, ...rules }]));
  }

  of(tenant: string): TenantRules {
    return this.#rules.get(tenant) ?? this.#defaults;
  }

  /** Tenants listed in the file. */
  get names(): Iterable<string> {
    return this.#file.tenants.keys();
  }
}
