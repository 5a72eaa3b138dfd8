/** A person who registers with a registration token: user-interactive authentication, as a Matrix client does it. */
import {randomBytes} from 'node:crypto';

interface Answer {
  status: number;
  session?: string;
  flows?: {stages: string[]}[];
  completed?: string[];
  user_id?: string;
  errcode?: string;
  error?: string;
}

/** What came of it: an account, or the homeserver's refusal. */
export type Registration =
  | {userId: string; refusal?: never}
  | {userId?: never; refusal: {status: number; errcode: string; error: string}};

const TOKEN_STAGE = 'm.login.registration_token';

/** A registration under way. */
export class SignUp {
  readonly #url: string;
  readonly #user = {
    username: `u${randomBytes(6).toString('hex')}`,
    password: randomBytes(12).toString('hex'),
    inhibit_login: true,
  };

  #last: Answer = {status: 0};

  private constructor(url: string) {
    this.#url = url;
  }

  /**
   * Begin, and present the token, which holds one of its uses from then on (`pending`).
   * @throws {Error} where the homeserver refuses the token, or asks for none.
   */
  static async begin(url: string, token: string): Promise<SignUp> {
    const signUp = new SignUp(url);
    const refusal = await signUp.#present(token);
    if (refusal) throw new Error(`the homeserver refuses: ${refusal.error}`);
    return signUp;
  }

  /** From the beginning to the end. */
  static async attempt(url: string, token: string): Promise<Registration> {
    const signUp = new SignUp(url);
    const refusal = await signUp.#present(token);
    return refusal ? {refusal} : signUp.finish();
  }

  /** Go through the stages that are left. */
  async finish(): Promise<Registration> {
    const stages = this.#last.flows?.[0]?.stages ?? [];
    for (const type of stages.filter((stage) => !this.#last.completed?.includes(stage))) {
      await this.#post({type});
    }

    const {status, user_id, errcode = '', error = ''} = this.#last;
    return user_id === undefined ? {refusal: {status, errcode, error}} : {userId: user_id};
  }

  async #present(token: string): Promise<Registration['refusal']> {
    await this.#post();
    const flows = this.#last.flows ?? [];
    if (!flows.some(({stages}) => stages.includes(TOKEN_STAGE))) {
      throw new Error(`the homeserver asks for no registration token: ${JSON.stringify(this.#last)}`);
    }

    await this.#post({type: TOKEN_STAGE, token});
    const {status, completed, errcode = '', error = ''} = this.#last;
    return completed?.includes(TOKEN_STAGE) ? undefined : {status, errcode, error};
  }

  async #post(stage?: {type: string; token?: string}): Promise<void> {
    const {session} = this.#last;
    const response = await fetch(`${this.#url}/_matrix/client/v3/register`, {
      method: 'POST',
      body: JSON.stringify({...this.#user, ...(stage && {auth: {...stage, session}})}),
    });
    this.#last = {...((await response.json()) as Omit<Answer, 'status'>), status: response.status};
  }
}

/** Register a new person with a token. */
export function register(url: string, token: string): Promise<Registration> {
  return SignUp.attempt(url, token);
}
