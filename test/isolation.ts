/** What a file does that a sandbox forbids, found in its text. */
import { analyze } from 'periscopic';
import { parseAst } from 'rolldown/parseAst';

type Node = { readonly type: string } & Record<string, unknown>;
type Scope = { find_owner(name: string): unknown };

const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && 'type' in value;

/** Of Math what has the same bits in every engine. */
const EXACT = [
  ...['LOG2E', 'PI', 'SQRT1_2', 'SQRT2'],
  ...['abs', 'ceil', 'clz32', 'floor', 'fround', 'imul', 'max', 'min', 'sign', 'sqrt', 'trunc'],
];
/** Methods that change what they are called on. */
const CHANGING = [
  'add',
  'clear',
  'delete',
  'fill',
  'pop',
  'push',
  'reverse',
  'set',
  'shift',
  'sort',
  'splice',
  'unshift',
];
/** What the language keeps for itself, by object. */
const HIDDEN_STATE = ['WeakMap', 'WeakSet', 'WeakRef', 'FinalizationRegistry'];
/** What SES refuses anywhere in a text: a method of the name is taken for a call unless a dot stands before it. */
const REFUSED = /(^|[^.])\beval\s*\(|\bimport\s*\(|<!--|-->/;

/** The name that a member's chain begins with, or null. */
function rootOf(node: unknown): string | null {
  let at = node;
  while (isNode(at) && at.type === 'MemberExpression') at = at.object;
  return isNode(at) && at.type === 'Identifier' ? String(at.name) : null;
}

/** The names that an assignment to this pattern changes. */
function targets(pattern: unknown): (string | null)[] {
  if (!isNode(pattern)) return [];
  const { type, elements, properties, left, argument, value } = pattern;
  if (type === 'ArrayPattern') return (elements as unknown[]).flatMap(targets);
  if (type === 'ObjectPattern') return (properties as unknown[]).flatMap(targets);
  if (type === 'Property') return targets(value);
  if (type === 'AssignmentPattern') return targets(left);
  if (type === 'RestElement') return targets(argument);
  return [rootOf(pattern)];
}

/**
 * Globals other than the allowed ones, imports, code made of text, functions of Math that differ between engines, state that the
 * module keeps. Names that are made at run time hide from it.
 */
export function faults(code: string, allowed: readonly string[]): string[] {
  const ast = parseAst(code) as unknown as Node;
  const { globals, map, scope: top } = analyze(ast as never);
  const found = new Set<string>();
  for (const name of globals.keys()) if (!allowed.includes(name)) found.add(`global ${name}`);
  const refused = REFUSED.exec(code)?.[0];
  if (refused !== undefined) found.add(`refused by SES: ${refused}`);

  const ofMath = (key: unknown, computed: unknown): void => {
    const name = isNode(key) && !computed ? String(key.name) : '?';
    if (!EXACT.includes(name)) found.add(`Math.${name}`);
  };
  const visit = (node: unknown, outer: Scope, inFunction: boolean): void => {
    if (Array.isArray(node)) for (const part of node) visit(part, outer, inFunction);
    if (!isNode(node)) return;
    const scope: Scope = map.get(node as never) ?? outer;
    const { type } = node;
    const isMath = (part: unknown): boolean =>
      isNode(part) && part.type === 'Identifier' && part.name === 'Math' && scope.find_owner('Math') === null;
    const changed = (names: (string | null)[]): void => {
      for (const name of names) if (name !== null && scope.find_owner(name) === top) found.add(`state ${name}`);
    };

    if (/^Import|^ExportAll|^MetaProperty$/.test(type) || (/^Export/.test(type) && node.source)) found.add(type);
    if (!inFunction && (type === 'AwaitExpression' || node.await === true)) found.add('await of the module');
    if (type === 'AssignmentExpression') changed(targets(node.left));
    if (type === 'UpdateExpression' || (type === 'UnaryExpression' && node.operator === 'delete'))
      changed(targets(node.argument));
    if (/^For(In|Of)Statement$/.test(type) && (node.left as Node).type !== 'VariableDeclaration')
      changed(targets(node.left));
    if (type === 'CallExpression' || type === 'NewExpression') {
      const { callee } = node;
      const method = isNode(callee) && callee.type === 'MemberExpression' ? (callee.property as Node) : null;
      if (method?.name === 'constructor') found.add('a function of its text');
      if (method !== null && CHANGING.includes(String(method.name))) changed(targets(callee));
    }
    if (type === 'Identifier' && HIDDEN_STATE.includes(String(node.name))) found.add(`state in a ${node.name}`);
    if (isMath(node)) found.add('Math as a value');
    if (type === 'MemberExpression' && isMath(node.object)) {
      ofMath(node.property, node.computed);
      return;
    }
    if (type === 'VariableDeclarator' && isMath(node.init) && (node.id as Node).type === 'ObjectPattern') {
      for (const one of (node.id as { properties: Node[] }).properties) ofMath(one.key, one.computed);
      return;
    }
    const within = inFunction || /Function/.test(type);
    for (const part of Object.values(node)) visit(part, scope, within);
  };
  visit(ast, top as Scope, false);
  return [...found].sort();
}
