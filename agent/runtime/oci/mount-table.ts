/** How the kernel's mount table spells paths. */

/** The path in a field of /proc/self/mountinfo: white space, backslashes and `#` are octal there. */
export const pathIn = (field: string): string =>
  field.replaceAll(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
