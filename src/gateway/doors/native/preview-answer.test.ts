import { expect, test } from 'vitest';
import { answerHeaders, baseOf } from './preview-answer.ts';

const target = { sandbox: 'sbx-1', port: 3000, path: '/', token: undefined };
const PATH = '/v1/sandboxes/sbx-1/ports/3000';

test('a port is served below its path, or at the root of its own host', () => {
  expect(baseOf(target, 'gateway.test', null)).toBe(PATH);
  expect(baseOf(target, 'gateway.test', 'preview.test')).toBe(PATH);
  expect(baseOf(target, '3000-sbx-1.preview.test:80', 'preview.test')).toBe('');
});

test.each([
  ['a=b', ['a=b'], ['a=b']],
  ['a=b; Path=/; HttpOnly', [`a=b; Path=${PATH}/; HttpOnly`], ['a=b; Path=/; HttpOnly']],
  [`a=b;path=${PATH}/x`, [`a=b; Path=${PATH}/x`], [`a=b; Path=${PATH}/x`]],
  ['a=b; Path=/v1/sandboxes/sbx-2/ports/80', [`a=b; Path=${PATH}/v1/sandboxes/sbx-2/ports/80`], undefined],
  [`a=b; Path=${PATH}1`, [`a=b; Path=${PATH}${PATH}1`], undefined],
  ['a=b; Domain=preview.test; Secure', ['a=b; Secure'], ['a=b; Secure']],
  ['a=b; DOMAIN = .test', ['a=b'], ['a=b']],
  ['millibox_token=theirs; Path=/', [], []],
  [' millibox_token =theirs', [], []],
  ['=millibox_token=theirs; Path=/', [], []],
  [' = millibox_token =theirs', [], []],
  ['millibox_token', [], []],
  ['=a=b', ['=a=b'], ['=a=b']],
  ['__Host-a=b; Secure; Path=/', [`__Host-a=b; Secure; Path=${PATH}/`], ['__Host-a=b; Secure; Path=/']],
])('the cookie %j is set for this port alone', (cookie, byPath, byHost) => {
  expect(answerHeaders({ 'set-cookie': [cookie] }, target, PATH)['set-cookie'] ?? []).toEqual(byPath);
  if (byHost === undefined) return;
  expect(answerHeaders({ 'set-cookie': [cookie] }, target, '')['set-cookie'] ?? []).toEqual(byHost);
});

test.each([
  ['/login?a=b', `${PATH}/login?a=b`, '/login?a=b'],
  ['http://localhost:3000/login', `${PATH}/login`, '/login'],
  ['http://127.0.0.1:3000', `${PATH}/`, '/'],
  ['//localhost:3000/x', `${PATH}/x`, '/x'],
  [`${PATH}/x`, `${PATH}/x`, `${PATH}/x`],
  ['next', 'next', 'next'],
  ['http://localhost:3001/', 'http://localhost:3001/', 'http://localhost:3001/'],
  ['https://elsewhere.test/x', 'https://elsewhere.test/x', 'https://elsewhere.test/x'],
  ['//elsewhere.test/x', '//elsewhere.test/x', '//elsewhere.test/x'],
])("a redirect to %j leads there from the client's point of view", (location, byPath, byHost) => {
  expect(answerHeaders({ location }, target, PATH)).toEqual({ location: byPath });
  expect(answerHeaders({ location }, target, '')).toEqual({ location: byHost });
  expect(answerHeaders({ location: '/login' }, target, null)).toEqual({ location: '/login' });
});

test('headers about the host, the connection or other pages are dropped', () => {
  const headers = {
    connection: 'close, X-Hop',
    'x-hop': '1',
    'keep-alive': 'timeout=5',
    'clear-site-data': '"*"',
    'strict-transport-security': 'max-age=1',
    'alt-svc': 'h3=":443"',
    nel: '{"report_to":"all","max_age":1}',
    'report-to': '{"group":"all","endpoints":[{"url":"https://elsewhere.test"}]}',
    'service-worker-allowed': '/',
    'content-type': 'text/plain',
  };
  expect(answerHeaders(headers, target, PATH)).toEqual({ 'content-type': 'text/plain' });
  expect(answerHeaders(headers, target, '')).toEqual({ 'content-type': 'text/plain', 'service-worker-allowed': '/' });
});
