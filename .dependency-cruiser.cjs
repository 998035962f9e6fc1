// Who may import whom. `protocol` is a leaf, and gateway, agent and sdk never meet (docs/architecture.md).
const only = (from, ...to) => ({
  name: `${from.replaceAll('/', '-')}-imports`,
  severity: 'error',
  from: { path: `^${from}/`, pathNot: '\\.test\\.ts$' },
  to: { path: '^(src|agent|bench|test)/', pathNot: [`^${from}/`, ...to.map((t) => `^${t}/`)] },
});

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    only('src/protocol'),
    only('src/lib', 'src/protocol'),
    only('src/mux', 'src/protocol', 'src/lib'),
    only('src/gateway', 'src/protocol', 'src/lib', 'src/mux'),
    only('src/sdk', 'src/protocol', 'src/lib', 'src/mux'),
    only('agent', 'src/protocol', 'src/lib', 'src/mux'),
    {
      name: 'no-node-in-protocol',
      severity: 'error',
      from: { path: '^src/protocol/', pathNot: '\\.test\\.ts$' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'dockerode-only-in-its-runtime',
      severity: 'error',
      from: { path: '^(src|agent)/', pathNot: '^agent/(runtime/docker|images)/|\\.test\\.ts$' },
      to: { path: 'node_modules/dockerode' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    exclude: { path: '(^|/)(dist|target)/' },
    enhancedResolveOptions: { extensions: ['.ts', '.js'] },
  },
};
